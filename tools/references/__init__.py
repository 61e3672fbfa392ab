"""Pages of the documentation that are made of the models, the catalogues and the command line."""
