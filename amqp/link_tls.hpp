// How a link comes to its stream, by TLS where the address says so, and what is told where that
// fails: on which host, why, and what to do. Loop thread only.
#pragma once

#include <sapwood/amqp/address.hpp>

#include <tls/peer_stream.hpp>

#include <memory>
#include <system_error>

namespace sapwood::amqp::detail {

/// Throws std::invalid_argument that says what of the address cannot be meant, or is not in this
/// build.
void require_securable(const address& to);

/// Connected, and its handshake done. Throws std::system_error, and `cancelled`.
[[nodiscard]] task<std::unique_ptr<peer_stream>> connect_securely(const host_port& host,
                                                                  const address& to);

/// Call it where `failure` is handled: throws it as it is, or, where TLS has failed, as what it
/// means here.
[[noreturn]] void rethrow_tls(const std::system_error& failure, const host_port& host,
                              const address& to);

/// The same for a link that was up.
[[noreturn]] void rethrow_lost(const std::system_error& failure);

} // namespace sapwood::amqp::detail
