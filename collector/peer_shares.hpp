// peer_shares: how many connections each peer has, so that one of them cannot take all. A peer is
// an IPv4 address, the network (/64) of an IPv6 one, which whoever has one has all of, or the user
// of a process at the other end of a Unix socket. Loop thread only.
#pragma once

#include <sapwood/endpoint.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <sys/types.h>

namespace sapwood::collector {

struct peer_id {
    enum class kind : std::uint8_t { nobody, ipv4, ipv6, user };

    kind is = kind::nobody;
    std::uint64_t number = 0;

    /// An IPv4 address that is written as one of IPv6 is an IPv4 address.
    [[nodiscard]] static peer_id at(const endpoint& place) noexcept;

    [[nodiscard]] static peer_id of_user(uid_t user) noexcept { return {kind::user, user}; }

    friend auto operator<=>(const peer_id&, const peer_id&) = default;
};

class peer_shares {
  public:
    /// Throws std::bad_alloc.
    void add(peer_id who) { ++shares_[who]; }

    void remove(peer_id who) noexcept;

    [[nodiscard]] std::size_t of(peer_id who) const noexcept;

  private:
    /// A peer chooses its own address, but no hash of it.
    std::map<peer_id, std::size_t> shares_;
};

} // namespace sapwood::collector
