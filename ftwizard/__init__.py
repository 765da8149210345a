"""ftwizard: from a data set to a fine-tuned, compared and merged model, in a terminal."""

__version__ = "0.1.0"
