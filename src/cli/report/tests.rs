//! What sheets say, and that no text from outside steers whoever reads them.
