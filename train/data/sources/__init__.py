"""Where images come from: folders, manifests and archives, with landmarks and names of people in files beside them."""
