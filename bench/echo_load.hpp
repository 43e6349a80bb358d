// The load of bench_echo: a number of connections, each of which sends a message, waits for all of
// its answer, checks every byte, and sends the next. By epoll, on the calling thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "harness/histogram.hpp"

namespace bench {

class echo_load {
  public:
    // Connects. Throws std::system_error.
    echo_load(std::uint16_t port, std::size_t connections, std::size_t message_bytes);
    echo_load(const echo_load&) = delete;
    echo_load& operator=(const echo_load&) = delete;
    ~echo_load();

    // Talks for so long and notes in `latencies` how many nanoseconds each answer took. Requests
    // are under way when it returns, and go on at the next call. Throws std::runtime_error where
    // an answer is wrong, a connection is lost, or no answer comes for ten seconds.
    void run(std::chrono::nanoseconds duration, histogram& latencies);

    // Waits for the answers that are under way. Throws as run does.
    void finish();

    [[nodiscard]] std::uint64_t answers() const { return answers_; }

  private:
    struct connection {
        int fd = -1;
        bool awaits_room = false;
        std::uint32_t index = 0;
        std::uint32_t sequence = 0;
        std::size_t sent = 0;
        std::size_t received = 0;
        std::uint64_t begun_ns = 0;
    };

    void turn(histogram* latencies);
    void begin(connection& with, std::uint64_t now_ns);
    void send_rest(connection& to);
    // True where it was the last piece of an answer.
    bool receive(connection& from);
    void compose(const connection& of);
    void watch(connection& at, int how, std::uint32_t events) const;

    const std::size_t message_bytes_;
    std::vector<connection> connections_;
    std::vector<char> message_;
    std::vector<char> buffer_;
    int epoll_ = -1;
    std::size_t under_way_ = 0;
    std::uint64_t answers_ = 0;
};

} // namespace bench
