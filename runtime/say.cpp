#include <sapwood/say.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

namespace sapwood::detail {

namespace {

/// Whether standard error takes PIPE_BUF bytes without a wait; also where a write fails at once.
bool takes_a_line() noexcept {
    pollfd wanted{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    return ::poll(&wanted, 1, 0) > 0;
}

void write_line(std::string_view what) noexcept {
    constexpr std::string_view begin = "sapwood: ";
    std::array<char, PIPE_BUF> line;
    std::memcpy(line.data(), begin.data(), begin.size());
    const std::size_t size = std::min(what.size(), line.size() - begin.size() - 1);
    std::memcpy(line.data() + begin.size(), what.data(), size);
    line[begin.size() + size] = '\n';
    (void)std::fwrite(line.data(), 1, begin.size() + size + 1, stderr);
}

} // namespace

void say(std::string_view what) noexcept {
    static constinit std::atomic<std::uint64_t> left_out = 0;
    if (!takes_a_line()) {
        ++left_out;
        return;
    }
    if (const std::uint64_t lines = left_out.exchange(0); lines > 0) {
        std::array<char, 80> text;
        const auto made = fmt::format_to_n(text.data(), text.size(),
                                           "{} lines were left out here: nobody took them", lines);
        write_line({text.data(), std::min(made.size, text.size())});
        if (!takes_a_line()) {
            ++left_out;
            return;
        }
    }
    write_line(what);
}

} // namespace sapwood::detail
