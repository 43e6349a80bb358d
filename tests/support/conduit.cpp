#include "support/conduit.hpp"

#include <sapwood/datagram.hpp>
#include <sapwood/pipe.hpp>
#include <sapwood/tcp.hpp>
#include <sapwood/unix_socket.hpp>

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>

namespace sapwood::test {

namespace {

/// What sockets and pipes of small buffers hold: less than a few tasks put in.
constexpr int kernel_bytes = 4096;

class lettered : public conduit {
  public:
    explicit lettered(char letter) noexcept : letter_(letter) {}

  protected:
    /// A buffer of its own on the heap for each operation: the sanitizer sees its end.
    [[nodiscard]] std::string piece(std::size_t size) const {
        return std::string(std::clamp<std::size_t>(size, 1, piece_bytes_max), letter_);
    }

    /// `bytes` holds `got` bytes that came out.
    void count(const std::string& bytes, std::size_t got) noexcept {
        count(std::string_view(bytes).substr(0, got));
    }

    void count(std::string_view got) noexcept {
        tally.taken += got.size();
        tally.foreign += got.size() - static_cast<std::size_t>(std::ranges::count(got, letter_));
    }

  private:
    const char letter_;
};

/// Streams and pipes: what has been put in ends where the entrance is closed.
template <class Entrance, class Exit>
class byte_conduit final : public lettered {
  public:
    byte_conduit(char letter, Entrance in, Exit out)
        : lettered(letter),
          in_(std::move(in)),
          out_(std::move(out)) {}

    task<> put(std::size_t size) override {
        const std::string bytes = piece(size);
        tally.put += co_await in_.write_some(bytes);
    }

    task<> take(std::size_t size) override {
        std::string bytes = piece(size);
        std::ranges::fill(bytes, '?');
        const std::size_t got = co_await out_.read_some(bytes);
        count(bytes, got);
    }

    task<> drain() override {
        co_await in_.close();
        std::string bytes(piece_bytes_max, '?');
        while (const auto got = co_await out_.read_some(bytes)) {
            count(bytes, got);
        }
    }

    owned_fd& exit() noexcept override { return out_; }

  private:
    Entrance in_;
    Exit out_;
};

/// A stream whose bytes come out in the loop's buffers.
template <class Stream>
class piece_conduit final : public lettered {
  public:
    piece_conduit(char letter, Stream in, Stream out)
        : lettered(letter),
          in_(std::move(in)),
          out_(std::move(out)) {}

    task<> put(std::size_t size) override {
        const std::string bytes = piece(size);
        tally.put += co_await in_.write_some(bytes);
    }

    task<> take(std::size_t) override {
        const received got = co_await out_.receive();
        count(got.text());
    }

    task<> drain() override {
        co_await in_.close();
        while (const received got = co_await out_.receive()) {
            count(got.text());
        }
    }

    owned_fd& exit() noexcept override { return out_; }

  private:
    Stream in_;
    Stream out_;
};

class datagram_conduit final : public lettered {
  public:
    explicit datagram_conduit(char letter)
        : lettered(letter),
          in_(unix_datagram::make_unnamed()),
          name_(unix_datagram_name(this)),
          out_(name_) {}

    task<> put(std::size_t size) override {
        const std::string bytes = piece(size);
        co_await in_.send_to(bytes, name_);
        tally.put += bytes.size();
    }

    task<> take(std::size_t) override {
        std::string bytes(piece_bytes_max, '?');
        const datagram got = co_await out_.receive_from(bytes);
        count(bytes, got.size);
    }

    task<> drain() override {
        std::string bytes(piece_bytes_max, '?');
        for (;;) {
            const auto got = ::recv(out_.fd(), bytes.data(), bytes.size(), MSG_DONTWAIT);
            if (got < 0) {
                co_return;
            }
            count(bytes, static_cast<std::size_t>(got));
        }
    }

    owned_fd& exit() noexcept override { return out_; }

  private:
    static endpoint unix_datagram_name(const void* of) {
        return endpoint::unix_abstract("sapwood-conduit-" + std::to_string(::getpid()) + "-" +
                                       std::to_string(reinterpret_cast<std::uintptr_t>(of)));
    }

    unix_datagram in_;
    const endpoint name_;
    unix_datagram out_;
};

void shrink(const socket& of) {
    ::setsockopt(of.fd(), SOL_SOCKET, SO_SNDBUF, &kernel_bytes, sizeof(kernel_bytes));
}

} // namespace

task<std::vector<std::unique_ptr<conduit>>> make_conduits() {
    std::vector<std::unique_ptr<conduit>> all;
    tcp_listener listener(endpoint("127.0.0.1", 0));
    {
        auto client = co_await tcp_stream::connect(listener.local_endpoint());
        auto server = co_await listener.accept();
        shrink(client);
        all.push_back(std::make_unique<byte_conduit<tcp_stream, tcp_stream>>('t', std::move(client),
                                                                             std::move(server)));
    }
    {
        auto client = co_await tcp_stream::connect(listener.local_endpoint());
        auto server = co_await listener.accept();
        shrink(client);
        all.push_back(
            std::make_unique<piece_conduit<tcp_stream>>('r', std::move(client), std::move(server)));
    }
    {
        auto [left, right] = unix_stream::make_pair();
        shrink(left);
        all.push_back(
            std::make_unique<piece_conduit<unix_stream>>('s', std::move(left), std::move(right)));
    }
    {
        auto [left, right] = unix_stream::make_pair();
        shrink(left);
        all.push_back(std::make_unique<byte_conduit<unix_stream, unix_stream>>('u', std::move(left),
                                                                               std::move(right)));
    }
    all.push_back(std::make_unique<datagram_conduit>('d'));
    {
        pipe ends = pipe::make();
        ::fcntl(ends.writer.fd(), F_SETPIPE_SZ, kernel_bytes);
        all.push_back(std::make_unique<byte_conduit<file, file>>('p', std::move(ends.writer),
                                                                 std::move(ends.reader)));
    }
    co_return all;
}

std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    // Less the one that looks.
    return static_cast<std::size_t>(std::distance(begin(all), end(all))) - 1;
}

} // namespace sapwood::test
