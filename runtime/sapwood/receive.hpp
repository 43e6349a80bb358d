// Receiving piece by piece: one standing operation for a stream, whose completions bring bytes in
// buffers of the loop's. Loop thread only.
#pragma once

#include <sapwood/received.hpp>
#include <sapwood/result.hpp>
#include <sapwood/standing_operation.hpp>

#include <cstdint>
#include <string>

namespace sapwood::detail {

/// Multishot receive where the ring has it; otherwise waits for readiness and then receives once.
class standing_receive final : public standing_operation {
  public:
    /// Pieces that wait to be asked for. With more the operation is broken off, so that the peer
    /// feels the pressure; those that have come by then are kept, some 32 at most.
    static constexpr unsigned pending_max = 8;

    explicit standing_receive(int fd) noexcept : standing_operation(fd) {}

    ~standing_receive() override;

    void prepare(io_uring_sqe& sqe) noexcept override;
    void progress(std::int32_t value, std::uint32_t flags) noexcept override;

  private:
    enum class method : std::uint8_t {
        /// Each completion brings a piece in a buffer of the loop's.
        multishot,
        /// Waits for bytes, without memory for them.
        poll,
        /// Bytes are there, and are received into an allocation of their own.
        single,
    };

    void loop_joined() override;
    [[nodiscard]] bool give(standing_wait& who) noexcept override;
    void rest(std::int32_t value, std::uint32_t flags) noexcept override;
    void drop(std::int32_t value, std::uint32_t flags) noexcept override;

    void arrived(received_slot& slot) noexcept;
    void rest_without_bytes(std::int32_t value) noexcept;
    void begin_single() noexcept;
    [[nodiscard]] received_slot& slot_of(std::int32_t size, std::uint32_t flags) noexcept;

    /// The loop's, where the ring has means for them.
    receive_buffers* buffers_ = nullptr;
    received_slot* first_ = nullptr;
    received_slot** last_ = &first_;
    unsigned pending_ = 0;
    method method_ = method::poll;
    bool is_at_end_ = false;
    /// Of a single receive: where to.
    received_slot* into_ = nullptr;
};

class [[nodiscard]] receive_piece final : public standing_wait {
  public:
    explicit receive_piece(owned_fd& from) noexcept : standing_wait(from) {}

    /// The next bytes; empty at the end of the stream. Throws `cancelled`, or std::system_error.
    received await_resume() {
        check();
        return std::move(piece_);
    }

    /// The same without throwing; see as_result.
    result<received> outcome();

    [[nodiscard]] std::string describe() const override;

    void set(received_slot& piece) noexcept { piece_ = received(&piece); }

  private:
    [[nodiscard]] std::unique_ptr<standing_operation> make() const override;

    received piece_;
};

} // namespace sapwood::detail
