// stream: bytes in order between two sockets, the part that TCP and Unix streams share. One task
// may read while another writes; two that write at once would mix their bytes. Loop thread only.
#pragma once

#include <sapwood/receive.hpp>
#include <sapwood/socket.hpp>

#include <limits>

namespace sapwood {

class stream : public socket {
  public:
    using socket::socket;

    /// Reads what is there, up to all of `into`, waiting for the first byte; 0 where the peer will
    /// send no more. Bytes that were received are returned even if the task was cancelled
    /// meanwhile.
    [[nodiscard]] detail::receive_op read_some(std::span<char> into) noexcept;

    /// The next bytes, in memory that the loop lends: the way to serve many connections, since one
    /// that waits holds no buffer and the kernel needs to be asked only once. The loop receives
    /// ahead, up to some 8 pieces of 16 KiB at most; where nobody asks for them, the peer feels
    /// it. Keep a piece only as long as you use it. Cancelled, it has taken nothing. Once it was
    /// called on a stream, it is the only way to read from it.
    [[nodiscard]] detail::receive_piece receive() noexcept { return detail::receive_piece(*this); }

    /// Fills all of `into`. False where the peer ended the stream before the first byte; where it
    /// ended in the middle, throws errc::end_of_stream. Where it fails or is cancelled, the bytes
    /// read so far are lost to the caller: use read_some to know.
    [[nodiscard]] task<bool> read_exactly(std::span<char> into);

    /// Writes some of `bytes`, at least one of them, and returns how many. A peer that is gone is
    /// EPIPE or ECONNRESET, never a signal.
    [[nodiscard]] detail::send_op write_some(std::span<const char> bytes) noexcept {
        return {*this, bytes};
    }

    /// Writes all of `bytes`, as often as it takes. A failure or cancellation may leave a part
    /// written.
    [[nodiscard]] detail::send_all_op write_all(std::span<const char> bytes) noexcept {
        return {*this, bytes, zero_copy_from_};
    }

    /// Writes all of `parts`, one after the other, many in one system call. The spans and what they
    /// point to must live until then.
    [[nodiscard]] task<> write_all(std::span<const std::span<const char>> parts);

    /// An array may be a literal, with a NUL at its end: say std::string_view, or std::span.
    template <std::size_t Size>
    detail::send_op write_some(const char (&bytes)[Size]) = delete;
    template <std::size_t Size>
    detail::send_all_op write_all(const char (&bytes)[Size]) = delete;

    /// From now on write_all does not have as many bytes as these, or more, copied, where the ring
    /// can do without (Linux 6.0) and the limit on locked memory allows it; it ends when the
    /// network has let go of them, which may be when the peer has acknowledged them, and a
    /// cancelled one has to wait for that as well. By default all are copied: it pays on a network
    /// card only, and over loopback never does; docs/sockets.md has figures.
    void zero_copy_from(std::size_t bytes) noexcept { zero_copy_from_ = bytes; }

    /// Half a close: the peer reads to the end of what was written, then 0, and may go on writing.
    [[nodiscard]] detail::shutdown_op shutdown_write() noexcept;

  private:
    std::size_t zero_copy_from_ = std::numeric_limits<std::size_t>::max();
};

} // namespace sapwood
