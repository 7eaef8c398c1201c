"""The tasks of `./run inv` and their names; their code is in delivery/tasks/."""

from invoke.collection import Collection

from delivery.tasks import (
    cached,
    checks,
    cluster,
    components,
    deploy,
    engine,
    freezes,
    images,
    platform,
    preview,
    records,
    registry,
    release,
    repos,
    scan,
    supply,
)

namespace = Collection(
    platform.up,
    platform.dev,
    platform.down,
    platform.status,
    platform.logs,
    platform.open_,
    platform.doctor,
    images.plan,
    images.build,
    images.push,
    deploy.deploy,
    deploy.diff,
    deploy.drift,
    deploy.render,
    deploy.rollback,
    deploy.undeploy,
    deploy.verify,
    freezes.freeze,
    freezes.unfreeze,
    freezes.freezes,
)
namespace.add_collection(
    Collection("ci", checks.check, checks.report, records.deliver, records.notify, checks.program)
)
namespace.add_collection(Collection("images", images.ensure, images.sizes, supply.sbom))
namespace.add_collection(Collection("signing", supply.keys, supply.sign, supply.verify))
namespace.add_collection(Collection("scan", scan.secrets, scan.vulnerabilities))
ledger = Collection("records", records.waiting)
ledger.add_task(records.records, name="show", default=True)
namespace.add_collection(ledger)
for module in (registry, release, repos, cluster, engine, preview):
    namespace.add_collection(Collection.from_module(module))
namespace.add_collection(Collection.from_module(components, name="component"))
namespace.add_collection(Collection.from_module(cached, name="cache"))
