"""The language model as policy: found, measured, loaded, adapted, prompted and sampled."""
