#include "source.hpp"

#include <fmt/format.h>

namespace sapwood::collector {

source source::network(std::string_view kind, const endpoint& peer) {
    // An IPv6 address has brackets of its own around it, which a line's would be taken for.
    return {0,
            peer.family() == AF_INET6 ? fmt::format("{} {}.{}", kind, peer.address(), peer.port())
                                      : fmt::format("{} {}", kind, peer.to_string()),
            peer_id::at(peer)};
}

source source::process(std::string_view kind, pid_t pid, uid_t uid, gid_t gid) {
    return {static_cast<std::uint32_t>(pid),
            fmt::format("{} pid={} uid={} gid={}", kind, pid, uid, gid), peer_id::of_user(uid)};
}

} // namespace sapwood::collector
