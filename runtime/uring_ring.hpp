// The kernel's ring. Made on the thread that will enter it (SINGLE_ISSUER). Asks for the setup
// that suits a single-threaded loop and steps down where the kernel or a limit refuses.
#pragma once

#include <sapwood/ring.hpp>

#include <memory>

namespace sapwood {

class uring_ring final : public ring {
  public:
    struct options {
        /// SQEs that can be staged between two enters. 256 keeps the rings within 64 KiB of
        /// locked memory; a full queue is entered and goes on. Halved where RLIMIT_MEMLOCK refuses.
        unsigned sq_entries = 256;
        /// Completions that fit before the kernel has to keep them aside; at least sq_entries.
        unsigned cq_entries = 1024;
    };

    /// Throws std::system_error whose text says why no ring can be had here and what to do.
    explicit uring_ring(options wanted);
    ~uring_ring() override;

    void enter(clock::time_point until) override;
    [[nodiscard]] std::string report() const override;

  private:
    io_uring uring_{};
    unsigned setup_flags_ = 0;
    options granted_;
};

} // namespace sapwood
