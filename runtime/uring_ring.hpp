// The kernel's ring. Made on the thread that will enter it (SINGLE_ISSUER). Asks for the setup
// that suits a single-threaded loop and steps down where the kernel or a limit refuses.
#pragma once

#include "opcode_fallback.hpp"

#include <sapwood/ring.hpp>

#include <cstdint>
#include <memory>
#include <vector>

namespace sapwood {

class uring_ring final : public ring {
  public:
    struct options {
        /// SQEs that can be staged between two enters. 256 keeps the rings within 64 KiB of
        /// locked memory; a full queue is entered and goes on. Halved where RLIMIT_MEMLOCK refuses.
        unsigned sq_entries = 256;
        /// Completions that fit before the kernel has to keep them aside; at least sq_entries.
        unsigned cq_entries = 1024;
        /// Threads of the kernel for what may wait: for a disk, or for a FIFO's other end. More
        /// operations than these wait in line. The kernel's own choice, the smaller of sq_entries
        /// and four per processor, would let a few FIFOs hold up every file.
        unsigned workers_max = 256;
        /// For tests: IORING_SETUP_ and IORING_FEAT_ bits, and opcodes below 64 by their bits, to
        /// go without although the kernel has them. As if it were older.
        unsigned setup_withheld = 0;
        unsigned features_withheld = 0;
        std::uint64_t opcodes_withheld = 0;
        bool withholds_buffer_rings = false;
    };

    /// Throws std::system_error whose text says why no ring can be had here and what to do.
    explicit uring_ring(options wanted);
    ~uring_ring() override;

    void enter(clock::time_point until) override;
    [[nodiscard]] bool register_buffers(io_uring_buf_ring& entries, unsigned count,
                                        std::uint16_t group) noexcept override;

    [[nodiscard]] bool can_send_uncopied() const noexcept override {
        return (opcodes_ >> IORING_OP_SEND_ZC & 1) != 0;
    }

    [[nodiscard]] clock::time_point coarse_now() const noexcept override;
    [[nodiscard]] std::string report() const override;
    [[nodiscard]] std::vector<ring_feature> features() const override;

  private:
    [[nodiscard]] std::uint64_t known_opcodes();
    [[nodiscard]] std::uint64_t missing_opcodes() const noexcept;
    [[nodiscard]] bool has_buffer_rings() const noexcept;
    void publish_staged() noexcept;
    [[nodiscard]] int submit_and_wait(clock::time_point until) noexcept;
    void use_own_completion_queue();
    void copy_completions() noexcept;

    io_uring uring_{};
    unsigned setup_flags_ = 0;
    /// IORING_FEAT_ bits, and the opcodes below 64 that the kernel has.
    unsigned features_ = 0;
    std::uint64_t opcodes_ = 0;
    bool ring_fd_is_registered_ = false;
    options granted_;
    bool has_ext_arg_ = true;
    bool is_no_iowait_ = false;
    /// Where there is no EXT_ARG: the time that the timeout points to while it is submitted.
    __kernel_timespec timeout_{};
    /// SQEs before it have been published.
    unsigned published_ = 0;
    /// Null where the kernel knows all there is.
    std::unique_ptr<opcode_fallback> fallback_;
    // Between the kernel's completions and the loop where there is a fallback: results of stand-ins
    // have to be put right.
    std::vector<io_uring_cqe> own_cqes_;
    unsigned own_cq_head_ = 0;
    unsigned own_cq_tail_ = 0;
    unsigned own_sq_flags_ = 0;
};

} // namespace sapwood
