// A client of the three models that wait for readiness: what it is owed, and what its socket is to
// be watched for. It is read from only while it is owed nothing: one that does not take its
// answers gets no more of them, keeps at most message_bytes_max, and holds up nobody else.
#pragma once

#include "sockets.hpp"

#include <string>

namespace server_models {

class event_client {
  public:
    event_client(descriptor socket, const service& what);

    [[nodiscard]] int fd() const noexcept { return socket_.fd(); }

    [[nodiscard]] bool wants_to_write() const noexcept { return !owed_.empty(); }

    [[nodiscard]] bool wants_to_read() const noexcept { return owed_.empty(); }

    /// To be called when the socket is ready for what it wants, or is in error. False where the
    /// client is gone, which has been said then: drop it.
    [[nodiscard]] bool on_ready();

    /// Says that it is gone for another reason.
    void say_lost(int error) const { say_gone(*what_, name_, error); }

  private:
    bool read();
    bool write();
    bool is_still_here(int error) const;

    const service* what_;
    descriptor socket_;
    std::string name_;
    std::string owed_;
};

} // namespace server_models
