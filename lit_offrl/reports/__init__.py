"""Reports of finished runs: tables, figures and a page, with published results beside them."""
