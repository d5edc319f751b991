"""The work of ``scmrl serve``: a local page and a JSON endpoint for a trained run."""
