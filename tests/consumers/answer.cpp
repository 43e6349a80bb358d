#include <sapwood/run.hpp>
#include <sapwood/task.hpp>

sapwood::task<int> answer() {
    co_return 42;
}

int main() {
    return sapwood::run(answer()) == 42 ? 0 : 1;
}
