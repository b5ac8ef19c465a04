"""The models that come with the package, and how weights of any model are saved and loaded."""
