"""What is done to a text before it is encoded and after it is decoded; no model runs here.

``characters`` cleans a text and remembers where its characters came from; ``sentences``, ``html``
and ``marks`` make segments of a text; ``rendering`` translates a segment so that its marks survive;
``documents`` puts segments back in their places. Rendering asks for translations as
a generator, and whoever drives it answers.
"""
