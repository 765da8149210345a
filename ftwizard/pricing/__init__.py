"""Costs in US dollars: offers, prices of your own, this machine, a month of use."""
