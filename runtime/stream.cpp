#include <sapwood/stream.hpp>

#include <algorithm>
#include <array>

namespace sapwood {

namespace {

/// Parts that one system call takes; the kernel would take 1024.
constexpr std::size_t parts_per_call_max = 64;

} // namespace

detail::receive_op stream::read_some(std::span<char> into) noexcept {
    SAPWOOD_ASSERT(!has_standing_operation(),
                   "a stream that receive() was called on is read by other means");
    return {*this, into};
}

task<bool> stream::read_exactly(std::span<char> into) {
    const std::size_t wanted = into.size();
    while (!into.empty()) {
        const std::size_t got = co_await read_some(into);
        if (got == 0) {
            if (into.size() == wanted) {
                co_return false;
            }
            throw std::system_error(errc::end_of_stream);
        }
        into = into.subspan(got);
    }
    co_return true;
}

task<> stream::write_all(std::span<const std::span<const char>> parts) {
    std::array<iovec, parts_per_call_max> vectors{};
    std::size_t skipped = 0; // of the first part
    for (;;) {
        while (!parts.empty() && skipped == parts.front().size()) {
            parts = parts.subspan(1);
            skipped = 0;
        }
        if (parts.empty()) {
            co_return;
        }
        const std::size_t count = std::min(parts.size(), vectors.size());
        for (std::size_t i = 0; i < count; ++i) {
            const auto bytes = parts[i].subspan(i == 0 ? skipped : 0);
            vectors[i] = {.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
        }
        msghdr message{};
        message.msg_iov = vectors.data();
        message.msg_iovlen = count;
        std::size_t sent = co_await detail::send_message_op(*this, message);
        while (sent > 0) {
            const std::size_t step = std::min(sent, parts.front().size() - skipped);
            sent -= step;
            skipped += step;
            if (skipped == parts.front().size() && sent > 0) {
                parts = parts.subspan(1);
                skipped = 0;
            }
        }
    }
}

detail::shutdown_op stream::shutdown_write() noexcept {
    return {*this, SHUT_WR};
}

} // namespace sapwood
