"""Evidence: all that is known of one order, in one archive that shows whether it was changed."""
