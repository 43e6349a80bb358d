// connect_to: a TCP connection to a host by its name, trying its addresses as RFC 8305 ("happy
// eyeballs") has it. Loop thread only.
#pragma once

#include <sapwood/resolve.hpp>
#include <sapwood/tcp.hpp>

#include <chrono>
#include <string>
#include <type_traits>
#include <vector>

namespace sapwood {

struct connect_options {
    /// How long an attempt has before the next address is tried beside it; one that fails is
    /// followed at once. RFC 8305 recommends 250 ms.
    clock::duration attempt_delay = std::chrono::milliseconds(250);
    address_family family = address_family::any;
    tcp_options stream = {};
};

static_assert(std::is_trivially_destructible_v<connect_options>,
              "gcc 12 destroys options in a co_await expression twice");

/// Resolves `host` and `service` (a port in numbers, or a name) and connects: the first attempt to
/// succeed is given, the others have been cancelled and awaited. Throws what resolve throws, or
/// std::system_error with the error of the first address and, in its text, what each one said. It
/// has no time limit of its own: put a timeout around it. Throws `cancelled`.
[[nodiscard]] task<tcp_stream> connect_to(std::string host, std::string service,
                                          connect_options options = {});

/// The same for addresses that are known already, at least one, tried in this order.
[[nodiscard]] task<tcp_stream> connect_to_any(std::vector<endpoint> addresses,
                                              connect_options options = {});

namespace detail {

/// IPv6 and IPv4 by turns, beginning with the family of the first, otherwise in their order.
[[nodiscard]] std::vector<endpoint> by_turns(const std::vector<endpoint>& addresses);

} // namespace detail

} // namespace sapwood
