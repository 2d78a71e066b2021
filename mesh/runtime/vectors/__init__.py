"""Long vectors: the spool on disk, streaming, masking."""
