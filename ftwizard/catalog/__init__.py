"""Static data from ``assets/*.toml``; every entry has a date and a source."""
