"""Pictures of labs: what is where (`layout`), as text for graphviz and mermaid (`text`), and as one page (`page`)."""
