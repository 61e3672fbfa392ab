"""Results for people: tables, live figures, pictures of labs."""
