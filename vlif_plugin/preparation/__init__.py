"""From a dataset as it is published to LMDBs that can be trusted: recognise, check, write, verify."""

from vlif_plugin.preparation.manifest import Manifest, Record
from vlif_plugin.preparation.own import own_pairs, own_photographs
from vlif_plugin.preparation.plan import Plan, PlannedPair
from vlif_plugin.preparation.recipes import NEIGHBOURS, RECIPES, Recipe
from vlif_plugin.preparation.recognise import recognise
from vlif_plugin.preparation.selection import OTHER
from vlif_plugin.preparation.tree import SourceFile, Sources
from vlif_plugin.preparation.verify import verify
from vlif_plugin.preparation.writing import write_plan

__all__ = [
    "NEIGHBOURS",
    "OTHER",
    "RECIPES",
    "Manifest",
    "Plan",
    "PlannedPair",
    "Recipe",
    "Record",
    "SourceFile",
    "Sources",
    "own_pairs",
    "own_photographs",
    "recognise",
    "verify",
    "write_plan",
]
