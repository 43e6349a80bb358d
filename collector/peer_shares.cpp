#include "peer_shares.hpp"

#include <algorithm>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>

namespace sapwood::collector {

peer_id peer_id::at(const endpoint& place) noexcept {
    if (place.family() == AF_INET) {
        sockaddr_in four{};
        std::memcpy(&four, place.data(), std::min<std::size_t>(sizeof(four), place.size()));
        return {kind::ipv4, four.sin_addr.s_addr};
    }
    if (place.family() != AF_INET6) {
        return {};
    }
    sockaddr_in6 six{};
    std::memcpy(&six, place.data(), std::min<std::size_t>(sizeof(six), place.size()));
    if (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr)) {
        in_addr_t four = 0;
        std::memcpy(&four, six.sin6_addr.s6_addr + 12, sizeof(four));
        return {kind::ipv4, four};
    }
    std::uint64_t network = 0;
    std::memcpy(&network, six.sin6_addr.s6_addr, sizeof(network));
    return {kind::ipv6, network};
}

void peer_shares::remove(peer_id who) noexcept {
    const auto found = shares_.find(who);
    if (found != shares_.end() && --found->second == 0) {
        shares_.erase(found);
    }
}

std::size_t peer_shares::of(peer_id who) const noexcept {
    const auto found = shares_.find(who);
    return found != shares_.end() ? found->second : 0;
}

} // namespace sapwood::collector
