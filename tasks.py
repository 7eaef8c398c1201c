"""The menu of `./run inv`: every task with its name. What a task does is in delivery/."""

from invoke.collection import Collection

from delivery.tasks import cache, cluster, deploy, engine, images, platform, programs

namespace = Collection(
    platform.up,
    platform.down,
    platform.status,
    platform.logs,
    deploy.deploy,
    deploy.rollback,
    deploy.undeploy,
    images.plan,
    images.push,
    images.sizes,
    programs.program,
)
namespace.add_collection(Collection.from_module(engine), "engine")
namespace.add_collection(Collection.from_module(cluster), "cluster")
namespace.add_collection(Collection.from_module(cache), "cache")
