// What all sources share: what is said to who runs the collector.
#include <collector/intake.hpp>

#include <sapwood/owned_fd.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <string>
#include <unistd.h>

namespace {

using sapwood::owned_fd;
using sapwood::collector::say;

/// Standard error is a pipe of ours that nobody reads.
class unread_standard_error {
  public:
    unread_standard_error() {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
        reader_ = owned_fd(ends[0]);
        const owned_fd writer(ends[1]);
        ::dup2(writer.fd(), STDERR_FILENO);
    }

    ~unread_standard_error() { ::dup2(before_.fd(), STDERR_FILENO); }

    void fill() const {
        const std::string much(4096, '.');
        while (::write(STDERR_FILENO, much.data(), much.size()) > 0) {
        }
    }

    /// What is in the pipe.
    [[nodiscard]] std::string read() const {
        std::string found;
        char some[4096];
        for (ssize_t got; (got = ::read(reader_.fd(), some, sizeof(some))) > 0;) {
            found.append(some, static_cast<std::size_t>(got));
        }
        return found;
    }

  private:
    const owned_fd before_{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)};
    owned_fd reader_;
};

} // namespace

TEST_SUITE("intake") {
    TEST_CASE("what nobody takes on standard error is counted, and not waited for") {
        const unread_standard_error pipe;
        say("first");
        const std::string heard = pipe.read();
        pipe.fill();
        say("second");
        say("third");
        const std::string filling = pipe.read();
        say("fourth");
        const std::string more = pipe.read();
        CHECK(heard == "sapwood: first\n");
        CHECK(filling.find_first_not_of('.') == filling.npos);
        CHECK(more == "sapwood: 2 lines were left out here: nobody took them\nsapwood: fourth\n");
    }

    TEST_CASE("a line is no longer than a pipe that takes anything takes at once") {
        const unread_standard_error pipe;
        say(std::string(10'000, 'x'));
        const std::string heard = pipe.read();
        CHECK(heard.size() == 4096);
        CHECK(heard.ends_with("x\n"));
    }
}
