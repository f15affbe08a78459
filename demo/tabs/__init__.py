"""The page's tabs, one module each: `tab` lays a tab out and connects its components to `hw2.inference`."""
