// Where the client for RabbitMQ is installed, too: nobody listens at port 1, and it says so.
#include <sapwood/amqp/connection.hpp>
#include <sapwood/run.hpp>

#include <system_error>

sapwood::task<> look() {
    auto mq = co_await sapwood::amqp::connect("amqp://guest:guest@127.0.0.1:1/");
    co_await mq.close();
}

int main() {
    try {
        sapwood::run(look());
    } catch (const std::system_error& why) {
        return why.code() == std::errc::connection_refused ? 0 : 2;
    }
    return 1;
}
