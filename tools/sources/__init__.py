"""What scholarly sources say about a paper, asked politely and never believed blindly."""
