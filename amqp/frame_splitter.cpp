#include "codec.hpp"

#include <sapwood/amqp/errors.hpp>

#include <algorithm>
#include <fmt/format.h>

namespace sapwood::amqp::detail {

namespace {

/// What a server that speaks TLS begins with.
constexpr char tls_alert = 21;
constexpr char tls_handshake = 22;

[[nodiscard]] std::uint32_t big_endian(std::string_view digits) noexcept {
    std::uint32_t value = 0;
    for (const char each : digits) {
        value = value << 8 | static_cast<unsigned char>(each);
    }
    return value;
}

[[nodiscard]] bool is_frame_type(char type) noexcept {
    return type == AMQP_FRAME_METHOD || type == AMQP_FRAME_HEADER || type == AMQP_FRAME_BODY ||
           type == AMQP_FRAME_HEARTBEAT;
}

[[nodiscard]] frame frame_of(std::string_view whole) {
    if (static_cast<unsigned char>(whole.back()) != AMQP_FRAME_END) {
        refuse(fmt::format("a frame of {} bytes does not end where it says", whole.size()));
    }
    return {static_cast<std::uint8_t>(whole.front()),
            static_cast<std::uint16_t>(big_endian(whole.substr(1, 2))),
            whole.substr(frame_head_bytes, whole.size() - frame_head_bytes - frame_end_bytes)};
}

} // namespace

void refuse(const std::string& why) {
    throw std::system_error(errc::protocol_broken, why);
}

bool frame_splitter::next(std::string_view& piece, frame& out) {
    if (std::exchange(is_kept_given_, false)) {
        kept_.clear();
    }
    if (kept_.empty()) {
        const std::size_t size = size_of(piece);
        if (size > 0 && size <= piece.size()) [[likely]] {
            out = frame_of(piece.substr(0, size));
            piece.remove_prefix(size);
            return true;
        }
    }
    while (!piece.empty()) {
        const std::size_t size = size_of(kept_);
        const std::size_t wanted = (size > 0 ? size : frame_head_bytes) - kept_.size();
        const std::size_t taken = std::min(wanted, piece.size());
        kept_.append(piece.substr(0, taken));
        piece.remove_prefix(taken);
        // Looked at as soon as there is something to see: a peer that speaks something else may
        // wait for us.
        if (const std::size_t whole = size_of(kept_); whole > 0 && kept_.size() == whole) {
            out = frame_of(kept_);
            is_kept_given_ = true;
            return true;
        }
    }
    return false;
}

/// Of the frame that begins so, all of it; 0 where its head is not whole.
std::size_t frame_splitter::size_of(std::string_view head) const {
    if (!head.empty() && !is_frame_type(head.front())) {
        if (head.front() == 'A') {
            refuse("the server speaks another version of AMQP, not 0-9-1");
        }
        if (head.front() == tls_alert || head.front() == tls_handshake) {
            refuse("the server speaks TLS on this port: say amqps:// instead of amqp://");
        }
        refuse(fmt::format("a frame cannot have the type {}: is this an AMQP server?",
                           static_cast<unsigned char>(head.front())));
    }
    if (head.size() < frame_head_bytes) {
        return 0;
    }
    const std::size_t size =
        big_endian(head.substr(3, 4)) + std::size_t{frame_head_bytes + frame_end_bytes};
    if (size > bytes_max_) {
        refuse(fmt::format("a frame of {} bytes came, and {} are the most that was agreed upon",
                           size, bytes_max_));
    }
    return size;
}

} // namespace sapwood::amqp::detail
