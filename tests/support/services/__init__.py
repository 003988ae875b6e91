"""Small services that scenarios run as processes of their own."""
