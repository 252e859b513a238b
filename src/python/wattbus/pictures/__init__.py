"""Pictures: a sheet is drawn once, and comes out as SVG, PNG or PDF.

>>> from wattbus.pictures.sheet import Sketch
>>> from wattbus.pictures.svg import draw_svg
>>> sketch = Sketch(120, 40, title="A word", alt="The word hello.")
>>> sketch.text(10, 25, "hello", 14)
>>> "hello</text>" in draw_svg(sketch.sheet())
True
"""
