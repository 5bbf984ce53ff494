"""The bill of materials of an image, as CycloneDX JSON."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component as Entry
from cyclonedx.model.component import ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from image.debian import SUITE
from image.layers import Component

_FORMAT = JsonV1Dot6


def bill(name: str, version: str, components: Iterable[Component]) -> str:
    """Return the document; the same components give the same one, so it has no time in it.

    The serial number is made of what is listed.
    """
    listed = sorted(components, key=lambda one: (one.kind, one.name))
    known = uuid.uuid5(uuid.NAMESPACE_OID, repr((name, version, listed)))
    image = Entry(name=name, version=version, type=ComponentType.CONTAINER, bom_ref=name)
    bom = Bom(serial_number=known, metadata=BomMetaData(component=image))
    # As the tool was when this was written, which says nothing of the image.
    bom.metadata.timestamp = None  # type: ignore[assignment]
    for one in listed:
        entry = _entry(one)
        bom.components.add(entry)
        bom.register_dependency(image, [entry])
    return _FORMAT(bom).output_as_string(indent=1) + "\n"


def _entry(component: Component) -> Entry:
    licences = LicenseFactory()
    if component.kind == "deb":
        qualifiers = {"arch": component.arch, "distro": SUITE}
        purl = PackageURL("deb", "debian", component.name, component.version, qualifiers)
    elif component.kind == "generic":
        purl = PackageURL("generic", None, component.name, component.version)
    else:
        purl = PackageURL("pypi", None, component.name.lower().replace("_", "-"), component.version)
    return Entry(
        name=component.name,
        version=component.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=purl.to_string(),
        licenses=[licences.make_from_string(component.licence)] if component.licence else [],
    )
