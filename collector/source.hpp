// source: who sends records, as far as it is known: written into every line, so that none can be
// taken for another's. One per connection or socket; a plain value.
#pragma once

#include "peer_shares.hpp"

#include <sapwood/endpoint.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace sapwood::collector {

/// Something that a message says of itself, for the place in front of it. `name` is a word of ours.
struct note {
    std::string_view name;
    std::string_view value;
};

struct source {
    /// The process of a peer on a Unix socket; 0 otherwise.
    std::uint32_t producer = 0;
    /// `http 127.0.0.1:40312`, `unix pid=17 uid=1000 gid=1000`: printable ASCII, without brackets.
    std::string name;
    /// Whose share of the connections it takes.
    peer_id who{};

    /// `kind` is a word.
    [[nodiscard]] static source network(std::string_view kind, const endpoint& peer);
    [[nodiscard]] static source process(std::string_view kind, pid_t pid, uid_t uid, gid_t gid);
};

} // namespace sapwood::collector
