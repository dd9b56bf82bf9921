"""What holds for the tree as a whole: who imports whom, what is public, what every folder has."""
