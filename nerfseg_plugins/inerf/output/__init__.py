"""What an estimation leaves on disk: poses.json, pictures, films, plots."""
