"""Who speaks when: voice activity, speaker embeddings and their networks, clustering, and the segments' transcripts."""
