"""Export: one merged model for any server."""
