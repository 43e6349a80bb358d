// source_listener: something that is listened on, and what comes there: a task for each connection,
// or records of datagrams. Loop thread only.
#pragma once

#include "collector_options.hpp"
#include "connection.hpp"

#include <sapwood/owned_fd.hpp>
#include <sapwood/task.hpp>

#include <memory>
#include <sys/types.h>
#include <vector>

namespace sapwood::collector {

class source_listener {
  public:
    source_listener() = default;
    source_listener(const source_listener&) = delete;
    source_listener& operator=(const source_listener&) = delete;
    virtual ~source_listener() = default;

    /// Takes what comes until it is cancelled.
    [[nodiscard]] virtual task<> run(intake& shared, connections& all) = 0;

    [[nodiscard]] virtual endpoint local_endpoint() const = 0;

    /// Those may write from now on.
    virtual void set_users(std::vector<uid_t> users) = 0;
};

/// Listens as the options say, for `to` and `shared`; on `inherited`, which listens already, if it
/// is open. `tls` is the one of the moment, for connections that come; it outlives the listener.
/// Throws std::system_error.
[[nodiscard]] std::unique_ptr<source_listener>
listen_at(const listen_options& options, named_log& to, owned_fd inherited,
          const std::shared_ptr<const tls_context>& tls);

} // namespace sapwood::collector
