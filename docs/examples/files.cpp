#include <cstdio>
#include <sapwood/sapwood.hpp>

using sapwood::task;

task<> note(sapwood::directory& folder, const std::string& name, std::string_view text) {
    auto file = co_await folder.open_file(name, {.flags = O_WRONLY | O_CREAT | O_EXCL});
    co_await file.write_all(text);
    co_await file.sync();
    co_await file.close();
}

task<> run() {
    const auto path = co_await sapwood::make_temporary_directory("trees.");
    auto folder = co_await sapwood::directory::open(path);

    co_await note(folder, "oak", "hard\n");
    co_await note(folder, "willow", "soft\n");
    co_await folder.rename("willow", "poplar");
    // All of it or nothing, whatever happens meanwhile; and then it is on the disk.
    co_await sapwood::write_whole_file(path + "/oak", std::string_view("hard, and heavy\n"));

    sapwood::directory_reader reader(folder);
    std::size_t bytes = 0;
    while (const auto entry = co_await reader.next()) {
        bytes += (co_await folder.status_of(entry->name)).size;
        co_await folder.remove_file(entry->name);
    }
    std::printf("%zu bytes in two files\n", bytes);
    co_await sapwood::remove_directory(path);
}

int main() {
    sapwood::run(run());
}
