// A conduit: bytes that go one way through the kernel, counted by the tasks that put them in and by
// the tasks that take them out. Whoever is cancelled in the middle, at the end the counts agree.
#pragma once

#include <sapwood/file.hpp>
#include <sapwood/socket.hpp>
#include <sapwood/task.hpp>

#include <cstddef>
#include <memory>
#include <vector>

namespace sapwood::test {

class conduit {
  public:
    struct counts {
        std::size_t put = 0;
        std::size_t taken = 0;
        /// Bytes that came out and were never put in.
        std::size_t foreign = 0;
    };

    conduit() = default;
    conduit(const conduit&) = delete;
    conduit& operator=(const conduit&) = delete;
    virtual ~conduit() = default;

    /// Puts in up to `size` bytes, waiting for room.
    virtual task<> put(std::size_t size) = 0;

    /// Takes out up to `size` bytes (a datagram: one), waiting for the first.
    virtual task<> take(std::size_t size) = 0;

    /// Takes out what is left. Nobody may use the conduit any more.
    virtual task<> drain() = 0;

    /// Where bytes come out, for who only wants to know whether there are any.
    [[nodiscard]] virtual owned_fd& exit() noexcept = 0;

    /// Writes to it may wait for a reader: kept small, so that they do.
    static constexpr std::size_t piece_bytes_max = 2048;

    counts tally;
};

/// One of each kind: TCP and Unix streams that are read and that are received from, Unix datagrams,
/// a pipe; each with its own letter.
[[nodiscard]] task<std::vector<std::unique_ptr<conduit>>> make_conduits();

/// Open descriptors of this process.
[[nodiscard]] std::size_t open_descriptors();

} // namespace sapwood::test
