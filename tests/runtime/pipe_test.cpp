// pipe: two files, one behind the other.
#include "support/co_test.hpp"
#include "support/sockets.hpp"

#include <sapwood/pipe.hpp>

#include <fcntl.h>
#include <string_view>

namespace {

using namespace std::string_view_literals;
using sapwood::test::failure_of;

} // namespace

TEST_SUITE("pipe") {

    CO_TEST_CASE("what is written at one end is read at the other, until the writer closes") {
        auto pipe = sapwood::pipe::make();
        co_await pipe.writer.write_all("through"sv);
        co_await pipe.writer.close();
        CHECK(co_await sapwood::test::read_to_end(pipe.reader) == "through");
        CHECK((::fcntl(pipe.reader.fd(), F_GETFD) & FD_CLOEXEC) != 0);
    }

    CO_TEST_CASE("a write without a reader is EPIPE") {
        auto pipe = sapwood::pipe::make();
        co_await pipe.reader.close();
        CHECK((co_await failure_of([&] { return pipe.writer.write_some("x"sv); })).first ==
              std::errc::broken_pipe);
    }
}
