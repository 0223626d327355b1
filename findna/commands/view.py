"""The work of `findna view` and `findna plot` on an embedding file."""

from findna import map_figures as map_figures
from findna import maps as maps
from findna.io.view import describe as describe
from findna.io.view import iter_rows as iter_rows
from findna.io.watch import refuse_inputs as refuse_inputs
