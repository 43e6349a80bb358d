// Echo by liburing, as somebody writes it who knows it: multishot accept, multishot receive into
// a ring of provided buffers, the answer sent from the buffer that was received into, one system
// call for all that is there to be sent and received. Linux 6.1.

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <liburing.h>

#include "echo_server.hpp"

namespace bench {

namespace {

constexpr unsigned sq_entries = 1024;
constexpr unsigned cq_entries = 4096;
constexpr unsigned buffers = 1024; // A power of two; more than connections that talk at once.
constexpr int buffer_group = 0;

[[noreturn]] void fail(int error, const std::string& what) {
    throw std::system_error{error, std::generic_category(), what};
}

// What has been received and not been sent yet, in one buffer.
struct piece {
    unsigned buffer;
    unsigned size;
};

struct connection {
    int fd;
    bool is_sending = false;
    bool is_receiving = false;
    bool is_over = false;
    unsigned sent = 0; // Of the first piece.
    std::deque<piece> owed{};
};

// What user_data points to carries in its lowest bits which operation it is of.
enum class operation : std::uint64_t { accept, receive, send };

class uring_server {
  public:
    explicit uring_server(const echo_options& options)
        : buffer_bytes_{options.buffer_bytes},
          memory_{std::make_unique_for_overwrite<char[]>(buffers * stride())},
          listener_{listen_on_loopback(false)} {
        io_uring_params params{};
        params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                       IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
        params.cq_entries = cq_entries;
        if (const int made = io_uring_queue_init_params(sq_entries, &ring_, &params); made < 0) {
            fail(-made, "cannot make an io_uring (this server needs Linux 6.1)");
        }
        io_uring_register_ring_fd(&ring_);
        provide_buffers();
    }

    [[noreturn]] void run() {
        print_port(port_of(listener_));
        accept();
        for (;;) {
            const int entered = io_uring_submit_and_wait(&ring_, 1);
            if (entered < 0 && entered != -EINTR) {
                fail(-entered, "cannot enter the ring");
            }
            unsigned head = 0;
            unsigned count = 0;
            io_uring_cqe* cqe = nullptr;
            io_uring_for_each_cqe(&ring_, head, cqe) {
                complete(*cqe);
                ++count;
            }
            io_uring_cq_advance(&ring_, count);
            io_uring_buf_ring_advance(buffer_ring_, returned_);
            returned_ = 0;
        }
    }

  private:
    // Buffers that are multiples of a page apart share the same few sets of the cache.
    [[nodiscard]] std::size_t stride() const { return buffer_bytes_ + 128; }

    [[nodiscard]] char* buffer(unsigned index) const { return memory_.get() + index * stride(); }

    void provide_buffers() {
        // liburing 2.3 has no helper that makes the ring.
        void* const memory = mmap(nullptr, buffers * sizeof(io_uring_buf), PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            fail(errno, "no memory for a ring of buffers");
        }
        buffer_ring_ = static_cast<io_uring_buf_ring*>(memory);
        io_uring_buf_reg wanted{};
        wanted.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
        wanted.ring_entries = buffers;
        wanted.bgid = buffer_group;
        if (const int made = io_uring_register_buf_ring(&ring_, &wanted, 0); made < 0) {
            fail(-made, "cannot register a ring of buffers");
        }
        io_uring_buf_ring_init(buffer_ring_);
        for (unsigned i = 0; i < buffers; ++i) {
            give_back(i);
        }
        io_uring_buf_ring_advance(buffer_ring_, returned_);
        returned_ = 0;
    }

    // The kernel sees it when all completions of a turn have been looked at.
    void give_back(unsigned index) {
        io_uring_buf_ring_add(buffer_ring_, buffer(index), static_cast<unsigned>(buffer_bytes_),
                              static_cast<unsigned short>(index), io_uring_buf_ring_mask(buffers),
                              returned_++);
    }

    io_uring_sqe& next_sqe(operation what, const void* of) {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        if (sqe == nullptr) {
            io_uring_submit(&ring_);
            sqe = io_uring_get_sqe(&ring_);
        }
        user_data_ = reinterpret_cast<std::uintptr_t>(of) | static_cast<std::uint64_t>(what);
        return *sqe;
    }

    void accept() {
        io_uring_sqe& sqe = next_sqe(operation::accept, nullptr);
        io_uring_prep_multishot_accept(&sqe, listener_, nullptr, nullptr, SOCK_CLOEXEC);
        sqe.user_data = user_data_;
    }

    void receive(connection& from) {
        from.is_receiving = true;
        io_uring_sqe& sqe = next_sqe(operation::receive, &from);
        io_uring_prep_recv_multishot(&sqe, from.fd, nullptr, 0, 0);
        sqe.flags |= IOSQE_BUFFER_SELECT;
        sqe.buf_group = buffer_group;
        sqe.user_data = user_data_;
    }

    void send(connection& to) {
        to.is_sending = true;
        const piece& next = to.owed.front();
        io_uring_sqe& sqe = next_sqe(operation::send, &to);
        io_uring_prep_send(&sqe, to.fd, buffer(next.buffer) + to.sent, next.size - to.sent,
                           MSG_NOSIGNAL | MSG_WAITALL);
        sqe.user_data = user_data_;
    }

    void complete(const io_uring_cqe& cqe) {
        const auto what = static_cast<operation>(cqe.user_data & 3);
        auto* const at = reinterpret_cast<connection*>(cqe.user_data & ~std::uint64_t{3});
        switch (what) {
        case operation::accept:
            accepted(cqe);
            break;
        case operation::receive:
            received(*at, cqe);
            break;
        case operation::send:
            sent(*at, cqe.res);
            break;
        }
    }

    void accepted(const io_uring_cqe& cqe) {
        if (cqe.res >= 0) {
            receive(*std::make_unique<connection>(connection{.fd = cqe.res}).release());
        }
        if ((cqe.flags & IORING_CQE_F_MORE) == 0) {
            accept();
        }
    }

    void received(connection& from, const io_uring_cqe& cqe) {
        from.is_receiving = (cqe.flags & IORING_CQE_F_MORE) != 0;
        if (cqe.res > 0) {
            from.owed.push_back({.buffer = cqe.flags >> IORING_CQE_BUFFER_SHIFT,
                                 .size = static_cast<unsigned>(cqe.res)});
            if (!from.is_sending) {
                send(from);
            }
        } else if (cqe.res != -ENOBUFS && cqe.res != -EINTR) { // the peer has ended, or is lost
            from.is_over = true;
        }
        if (!from.is_receiving && !from.is_over) {
            receive(from);
        }
        drop_if_over(from);
    }

    void sent(connection& to, int result) {
        to.is_sending = false;
        if (result < 0 && result != -EINTR) {
            to.is_over = true;
            while (!to.owed.empty()) {
                return_first(to);
            }
            shutdown(to.fd, SHUT_RDWR); // so that its receive ends, too
        } else {
            to.sent += result > 0 ? static_cast<unsigned>(result) : 0;
            if (to.sent == to.owed.front().size) {
                return_first(to);
            }
            if (!to.owed.empty()) {
                send(to);
            }
        }
        drop_if_over(to);
    }

    void return_first(connection& of) {
        give_back(of.owed.front().buffer);
        of.owed.pop_front();
        of.sent = 0;
    }

    static void drop_if_over(connection& at) {
        if (at.is_over && !at.is_sending && !at.is_receiving) {
            close(at.fd);
            const std::unique_ptr<connection> freed{&at};
        }
    }

    const std::size_t buffer_bytes_;
    const std::unique_ptr<char[]> memory_;
    const int listener_;
    io_uring ring_{};
    io_uring_buf_ring* buffer_ring_ = nullptr;
    int returned_ = 0;
    std::uint64_t user_data_ = 0;
};

} // namespace

void serve_by_liburing(const echo_options& options) {
    uring_server{options}.run();
}

} // namespace bench
