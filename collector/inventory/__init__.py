"""What a platform says runs where: Kubernetes lists → `inventory` and `aliases`."""

from collector.inventory.aliases import aliases_of
from collector.inventory.documents import read_objects
from collector.inventory.items import Item, item_of
from collector.inventory.load import Loaded, load, parse_inventory

__all__ = ["Item", "Loaded", "aliases_of", "item_of", "load", "parse_inventory", "read_objects"]
