"""What this edge decides by: the signed bundle of policy, resources and keys, and whether it is fresh enough.

A bundle is accepted only if a key that this edge trusts signed it: the one pinned in edge.yaml, or the first one
seen, and those that a trusted bundle names. The last good one is kept on disk. A policy that does not load leaves the
one before in force, while keys and resources are taken from the new bundle, so that a revocation never waits for a
policy.
"""

import base64
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.logs import Log
from edge_agent.segments import replace_file
from edge_agent.settings import ResourceSettings, Settings
from gateway_kernel.contract import VERSION, AgentKey, Bundle, SignedBundle, bundle_bytes, decode, encode
from gateway_kernel.errors import PolicyError
from gateway_kernel.model import SECOND, Instant, Resource
from gateway_kernel.policy import Policy, load

log = Log(__name__)

_BUNDLE, _GOOD, _KEYS = "bundle.json", "bundle-with-policy.json", "control-plane-keys.json"


class BundleError(Exception):
    """A bundle is not accepted: forged, for another edge, older than the one in force. The text says what to do."""


class Bundles:
    """The bundle in force, for one worker. Ages are measured from the last time the control plane confirmed it."""

    def __init__(self, settings: Settings, edge: str, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._edge = edge
        self._clock = clock
        self._confirmed = 0.0
        self.fresh_until: Instant = 0  # until then `policy_stale` says nothing
        self._bundle: Bundle | None = None
        self._keys: dict[str, AgentKey] = {}
        self._resources: dict[str, Resource] = {}
        self._trusted = self._pinned()
        self.etag = ""
        self.policy: Policy | None = None
        self.policy_version = 0
        self.policy_problem = ""
        self.resource_problems: tuple[str, ...] = ()
        self.grant_keys: dict[str, Ed25519PublicKey] = {}
        self.changed: Callable[[], None] = lambda: None

    @property
    def _directory(self) -> Path:
        return self._settings.data_dir

    @property
    def console(self) -> str:
        """The URL of the console, "" if unknown."""
        return self._bundle.console if self._bundle else ""

    @property
    def revision(self) -> str:
        """The revision in force, "" before the first bundle."""
        return self._bundle.revision if self._bundle else ""

    def restore(self) -> None:
        """Take the bundle kept on disk, if there is one; its age is what it was."""
        for name in (_GOOD, _BUNDLE):
            path = self._directory / name
            try:
                signed = decode(path.read_bytes(), SignedBundle)
                self._take(self._verified(signed))
                self._confirmed = max(self._confirmed, path.stat().st_mtime)
                self._reckon()
            except FileNotFoundError:
                continue
            except (msgspec.DecodeError, BundleError) as error:
                log.warning("the bundle kept on disk is not used", file=name, reason=str(error))

    def accept(self, signed: SignedBundle, etag: str) -> None:
        """Put a fetched bundle in force and keep it; raise `BundleError` and change nothing if it is not to be trusted."""
        bundle = self._verified(signed)
        if self._bundle is not None and bundle.issued < self._bundle.issued:
            raise BundleError("the control plane sent an older bundle than the one in force; it is not accepted")
        self._take(bundle)
        self.etag = etag
        self._trust(bundle)
        data = encode(signed)
        try:
            replace_file(self._directory / _BUNDLE, data)
            if not self.policy_problem:
                replace_file(self._directory / _GOOD, data)
        except OSError as error:
            log.warning("the bundle could not be kept on disk", reason=str(error.strerror))
        self.confirm()

    def confirm(self) -> None:
        """The control plane said just now that the bundle in force is the current one."""
        self._confirmed = self._clock()
        self._reckon()
        for name in (_BUNDLE,):
            try:
                os.utime(self._directory / name, (self._confirmed, self._confirmed))
            except OSError as error:
                log.debug("the bundle's age could not be kept on disk", reason=str(error.strerror))

    def configure(self, settings: Settings) -> None:
        """Use other settings from now on."""
        self._settings = settings
        self._reckon()
        if self._bundle is not None:
            self._match_resources(self._bundle)

    def _reckon(self) -> None:
        self.fresh_until = int((self._confirmed + self._settings.policy_max_age) * SECOND) if self.policy else 0

    # -- what it answers ----------------------------------------------------------------------------------------------

    def key(self, hashed: str) -> AgentKey | None:
        """The agent key with this hash."""
        return self._keys.get(hashed)

    def resource(self, name: str) -> Resource | None:
        """The resource with its labels from the registry, or None if this edge does not guard it or its labels disagree."""
        return self._resources.get(name)

    @property
    def age(self) -> float:
        """Seconds since the control plane confirmed the bundle."""
        return max(0.0, self._clock() - self._confirmed)

    def policy_stale(self) -> str:
        """Why the policy may not be used now, or an empty string."""
        if self.policy is None:
            return "This edge has no policy yet: the control plane has not been reached. Try again shortly."
        if self.age <= self._settings.policy_max_age:
            return ""
        return f"The policy was last confirmed {self.age:.0f} s ago, longer than policy_max_age allows; the control plane is away."

    def revocations_stale(self) -> str:
        """Why nobody may be identified now, or an empty string."""
        if self._bundle is None:
            return "this edge knows no agents yet: the control plane has not been reached; try again shortly"
        if self.age <= self._settings.revocation_max_age:
            return ""
        return f"revocations were last confirmed {self.age:.0f} s ago, longer than revocation_max_age allows; the control plane is away"

    # -- trust --------------------------------------------------------------------------------------------------------

    def _pinned(self) -> dict[str, bytes]:
        """Trusted keys: id -> 32 bytes; the id "" stands for a key pinned in edge.yaml, whatever its id."""
        trusted: dict[str, bytes] = {}
        if self._settings.public_key:
            try:
                raw = base64.b64decode(self._settings.public_key, validate=True)
            except ValueError:
                raw = b""
            if len(raw) != 32:
                raise BundleError("control_plane.public_key in edge.yaml is not base64 of 32 bytes")
            trusted[""] = raw
        try:
            kept = msgspec.json.decode((self._directory / _KEYS).read_bytes(), type=dict[str, bytes])
        except FileNotFoundError:
            return trusted
        except msgspec.DecodeError:
            raise BundleError(
                f"{self._directory / _KEYS} is damaged; restore it, or pin control_plane.public_key"
            ) from None
        if "" in trusted and kept.get("", trusted[""]) != trusted[""]:
            return trusted  # the pin was changed by hand: what older keys vouched for is void
        return kept | trusted

    def _verified(self, signed: SignedBundle) -> Bundle:
        try:
            bundle = decode(signed.payload, Bundle)
        except msgspec.DecodeError as error:
            raise BundleError(f"the bundle cannot be read: {error}") from None
        candidates = [self._trusted[each] for each in (signed.key_id, "") if each in self._trusted]
        if not self._trusted:
            candidates = [
                bundle.grant_keys.get(signed.key_id, b"")
            ]  # the first bundle ever: its key is pinned by `_trust`
        if not any(_signed_by(key, signed) for key in candidates):
            raise BundleError(
                f"the bundle is signed by key {signed.key_id!r}, which this edge does not trust. If the control plane was set up anew, "
                f"remove {self._directory / _KEYS} or set control_plane.public_key"
            )
        if bundle.v != VERSION:
            raise BundleError(f"the bundle has version {bundle.v}, this edge reads {VERSION}; update it")
        if bundle.edge != self._edge:
            raise BundleError(f"the bundle is for edge {bundle.edge!r}, this is {self._edge!r}")
        return bundle

    def _trust(self, bundle: Bundle) -> None:
        trusted = dict(bundle.grant_keys)
        if "" in self._trusted:
            trusted[""] = self._trusted[""]
        if trusted == self._trusted:
            return
        self._trusted = trusted
        try:
            replace_file(self._directory / _KEYS, msgspec.json.encode(trusted))
        except OSError as error:
            raise BundleError(f"the control plane's key cannot be pinned on disk: {error.strerror}") from None

    # -- taking -------------------------------------------------------------------------------------------------------

    def _take(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._keys = {key.hash: key for key in bundle.keys}
        self.grant_keys = {name: Ed25519PublicKey.from_public_bytes(raw) for name, raw in bundle.grant_keys.items()}
        self._match_resources(bundle)
        self._take_policy(bundle)
        self.changed()

    def _take_policy(self, bundle: Bundle) -> None:
        if self.policy is not None and self.policy.digest == bundle.policy_digest:
            self.policy_problem = ""
            return
        try:
            policy = _loaded(bundle)
        except PolicyError as error:
            self.policy_problem = str(error)
            log.fault("policy does not load; the one before stays in force", problems=list(error.problems))
            return
        self.policy, self.policy_version, self.policy_problem = policy, bundle.policy_version, ""
        log.info("policy in force", version=bundle.policy_version, digest=policy.digest)

    def _match_resources(self, bundle: Bundle) -> None:
        registered = {each.name: each for each in bundle.resources}
        problems: list[str] = []
        matched: dict[str, Resource] = {}
        for mine in self._settings.resources:
            theirs = registered.get(mine.name)
            problem = _difference(mine, theirs.protocol, theirs.labels) if theirs else "is not registered for this edge"
            if problem:
                problems.append(f"resource {mine.name!r} {problem}; it is not served")
            elif theirs:
                matched[mine.name] = Resource(theirs.name, theirs.protocol, theirs.labels)
        self._resources = matched
        if tuple(problems) != self.resource_problems:
            self.resource_problems = tuple(problems)
            for problem in problems:
                log.fault("resource does not agree with the registry", problem=problem)


def _loaded(bundle: Bundle) -> Policy:
    name = f"policy version {bundle.policy_version}"
    policy = load(bundle.policy, name)
    if policy.digest != bundle.policy_digest:
        what = f"{name}: its digest is {policy.digest}, the control plane says {bundle.policy_digest}"
        raise PolicyError((what,))
    return policy


def _difference(mine: ResourceSettings, protocol: str, labels: dict[str, str]) -> str:
    if mine.protocol != protocol:
        return f"speaks {mine.protocol} in edge.yaml, {protocol} in the registry"
    for label, value in mine.labels.items():
        if labels.get(label) != value:
            theirs = repr(labels[label]) if label in labels else "not there"
            return f"has label {label}={value!r} in edge.yaml, which is {theirs} in the registry"
    return ""


def _signed_by(key: bytes, signed: SignedBundle) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signed.signature, bundle_bytes(signed.payload))
    except (InvalidSignature, ValueError):
        return False
    return True
